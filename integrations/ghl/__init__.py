"""GoHighLevel, the CRM."""
