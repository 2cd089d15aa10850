"""Where cold objects lie: a bucket, or a folder."""
