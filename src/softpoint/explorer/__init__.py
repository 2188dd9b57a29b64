"""Spatial softmax, attention, predictions and labels in a browser. Needs the libraries of the extra `explore`."""
