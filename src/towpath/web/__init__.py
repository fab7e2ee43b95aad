"""The web page: what a volunteer looks at. A client of the control API, as the command line is; `towpath run` has it
served.
"""
