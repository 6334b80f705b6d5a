"""The recsys service: a DLRM ranker that scores candidate items for a user, and the build that makes it."""
