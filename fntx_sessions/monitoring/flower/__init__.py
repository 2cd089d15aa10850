"""The Sessions pages inside Flower: `install` puts them there. docs/pages.md says what each shows."""
