"""What outlives a packet or a connection: sessions and their messages, wills, retained messages."""
