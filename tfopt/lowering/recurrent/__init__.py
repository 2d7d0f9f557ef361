"""A recurrent layer in, the operations of its time steps out; or, for a plain LSTM, the one operation that TFLite has for it."""
