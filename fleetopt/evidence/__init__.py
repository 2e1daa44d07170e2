"""Evidence for what the package claims: its models against its simulator, as data; printing is the command's."""
