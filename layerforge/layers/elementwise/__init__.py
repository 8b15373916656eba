"""Element-wise: every element of the top follows from the same element of the bottom."""

TITLE = "Element-wise"
