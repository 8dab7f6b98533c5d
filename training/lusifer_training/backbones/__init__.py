"""Where weights come from: hub, folder or installed package, to Hugging Face modules."""
