"""An exported model behind HTTP: images in, keypoints out, without torch. Needs the libraries of the extra `serve`."""
