"""A model as a server: OpenAI's API over continuous batching, and reward models as a service."""
