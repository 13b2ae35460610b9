"""Networks and classifiers that ScSAM is measured against, trained and scored in the same way."""
