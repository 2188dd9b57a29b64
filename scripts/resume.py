from softpoint.cli import main

main("resume")
