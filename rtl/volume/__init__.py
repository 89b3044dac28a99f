"""Volume: a unit's RTL as a compiled library, driven with millions of vectors, held to the model's bits and cycles."""
