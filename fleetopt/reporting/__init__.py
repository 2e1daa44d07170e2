"""What people and procurement read: the recommendation as a document, its files, the report page, tables, figures."""
