"""What requests look like: lengths, arrivals, traces; measured, published and made up."""
