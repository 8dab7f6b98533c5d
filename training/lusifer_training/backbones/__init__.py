"""Load backbones from a hub, a folder or an installed package as Hugging Face modules."""
