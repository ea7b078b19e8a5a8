"""The verbs that decide: validate, curate, select, align. From a config to a manifest."""
