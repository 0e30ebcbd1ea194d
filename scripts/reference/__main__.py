"""Write the pages, and the script of the grants: `python -m scripts.reference`."""

from scripts.reference import grants
from scripts.reference.pages import FOLDER, made, write

if __name__ == "__main__":
    write(FOLDER, made())
    grants.SCRIPT.write_text(grants.made())
