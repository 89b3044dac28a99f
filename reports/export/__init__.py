"""`vitrtl export`: units as folders that a simulator, a linter and a synthesiser use without Python."""
