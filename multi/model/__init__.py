"""The nouns: frozen values that the stages hand on."""
