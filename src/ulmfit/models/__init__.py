"""What is saved, loaded and asked: the model folder, language models and text classifiers."""
