"""x"""


def explain(message, parser, unavailable):
    return message
