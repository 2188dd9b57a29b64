from softpoint.cli import main

main("tune")
