from softpoint.cli import main

main("evaluate")
