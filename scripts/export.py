from softpoint.cli import main

main("export")
