"""The three model services: question-reward, answer-reward and inner-llm."""
