"""Variables of the command-line client, which loads no settings; to a server they are nothing."""

CLIENT_URL = "HEAVYLIFT_CLIENT_URL"
CLIENT_API_KEY = "HEAVYLIFT_CLIENT_API_KEY"

CLIENT_VARIABLES = frozenset({CLIENT_URL, CLIENT_API_KEY})
