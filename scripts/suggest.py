from softpoint.cli import main

main("suggest")
