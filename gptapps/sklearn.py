"""Estimators for scikit-learn's Pipeline, GridSearchCV and cross_val_score.

>>> from gptapps.sklearn import GPTClassifier, GPTFeatures
"""

from gptapps.integrations.sklearn import GPTClassifier, GPTFeatures

__all__ = ["GPTClassifier", "GPTFeatures"]
