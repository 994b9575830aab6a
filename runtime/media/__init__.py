"""Images, videos and cameras: in and out."""
