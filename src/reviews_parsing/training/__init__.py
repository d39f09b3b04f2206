"""Training of models: features, fitting, calibration, export and evaluation."""
