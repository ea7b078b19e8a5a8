"""The stages that ask services: rewards, rewrites and their gates. Knows no selection and no report."""
