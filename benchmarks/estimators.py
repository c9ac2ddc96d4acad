"""How estimates of influence rank clusters, held to the oracle that retrains, on the study that lies in a data folder.

kedro run --pipeline influence_matrix
kedro run --pipeline influence_matrix --params influence.estimator=ekfac
kedro run --pipeline influence_matrix --params influence.estimator=retrain
python benchmarks/estimators.py [--data data]

Of each estimator the newest finished matrix is taken. Intervals are from drawing each cell of both matrices anew by its
error. `oracle` is what the oracle reaches against itself, drawn twice: noise lets no estimate do much better.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from winnow.influence.matrix import as_matrix
from winnow.stages import Finished

DRAWS = 500


def newest(folder: Path) -> dict[str, Finished]:
    found = {}
    for path in sorted((folder / "influence_matrix").glob("*/record.json"), key=lambda path: path.stat().st_mtime):
        matrix = Finished.open(path.parent)
        name = matrix.parameters.get("estimator", "")
        units = ", in units of loss" if name == "gradient" and not matrix.parameters["normalize"] else ""
        found[name + units] = matrix
    return {name: matrix for name, matrix in found.items() if name}


def agreement(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> str:
    """Spearman over the clusters of one domain, with the middle 95 % of draws."""
    random = np.random.default_rng(0)
    drawn = [
        spearmanr(*(value + error * random.standard_normal(len(value)) for value, error in (one, other))).statistic
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{spearmanr(one[0], other[0]).statistic:6.2f} ({low:5.2f} to {high:5.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    found = newest(parser.parse_args().data / "03_primary")
    if "retrain" not in found or len(found) < 2:
        raise SystemExit(f"There are matrices by {', '.join(found) or 'nothing'}; the oracle and another are needed.")
    cells = {name: matrix.scan("cells").collect() for name, matrix in found.items()}
    domains, clusters, _ = as_matrix(cells["retrain"])
    tables = {}
    for name, table in cells.items():
        own_domains, own_clusters, values = as_matrix(table)
        _, _, errors = as_matrix(table, "error")
        place = np.ix_([own_domains.index(d) for d in domains], [own_clusters.index(c) for c in clusters])
        tables[name] = values[place], errors[place]
    print(f"Spearman with the oracle over {len(clusters)} clusters, and where 95 % of draws by the errors lie")
    print(f"{'':28}" + "".join(f"{domain:26}" for domain in domains))
    oracle = tables.pop("retrain")
    for name, (values, errors) in {**tables, "oracle": oracle}.items():
        rows = [agreement((values[n], errors[n]), (oracle[0][n], oracle[1][n])) for n in range(len(domains))]
        print(f"{name:28}" + "".join(f"{row:26}" for row in rows))


if __name__ == "__main__":
    main()
