"""Human preference data: the released schemas and the groups they hold."""
