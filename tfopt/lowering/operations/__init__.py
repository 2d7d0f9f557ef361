"""A traced function in, the same numbers from operations that have int8 kernels out, whichever layer the operations belong to."""
