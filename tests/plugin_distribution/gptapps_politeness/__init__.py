"""Rates how polite a text is: a task, a pipeline, a head and a metric that are no part of gptapps."""
