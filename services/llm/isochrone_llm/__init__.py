"""The llm service: an engine that writes text with Llama models, token by token, and the build that makes one."""
