"""The studio: one web application on the feedback store, where people judge. Never imports torch."""
