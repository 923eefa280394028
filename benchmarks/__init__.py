"""Measurements of gptapps: see README.md in this folder."""
