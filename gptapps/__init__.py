"""gptapps: any GPT checkpoint as a working NLP application."""
