"""What a person asks of the reports: values in, values out, no database and no HTTP."""
