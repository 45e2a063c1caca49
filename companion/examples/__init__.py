"""What the book is told with: five tokens to follow by hand, and the heads of a trained encoder."""
