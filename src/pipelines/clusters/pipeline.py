"""losses -> clusters, their files and figures."""

from kedro.pipeline import Node, Pipeline, pipeline

from pipelines.clusters import nodes


def create_pipeline() -> Pipeline:
    """Cluster the loss trajectories and show them."""
    find = Node(nodes.find_clusters, ["losses", "params:clusters", "params:machine"], "clusters", name="clusters")
    write = Node(
        nodes.write_cluster_files, ["train", "clusters", "params:machine"], "cluster_files", name="write_cluster_files"
    )
    drawn = ["trajectories_figure", "examples_figure", "composition_figure", "trajectories_chart"]
    draw = Node(nodes.draw_clusters, ["losses", "clusters"], drawn, name="draw_clusters")
    return pipeline([find, write, draw], tags=["clusters"])
