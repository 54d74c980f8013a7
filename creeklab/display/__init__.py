"""HTML, style sheets, tables and wrapped text for every tool that shows something to a person.

Nothing here knows AWS, a widget or a lab.
"""
