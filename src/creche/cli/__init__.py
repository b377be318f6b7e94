"""The command; needs the extra ``creche[cli]``."""
