"""The lifecycle manager by subject, a file each; `SessionLifecycleManager` is all of them."""
