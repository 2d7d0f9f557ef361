"""The bytes of a TFLite file in; its structure, edits and outputs out. Keras is not known here."""
