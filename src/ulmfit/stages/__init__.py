"""The stages of the method: configuration and artefact in, artefact out."""
