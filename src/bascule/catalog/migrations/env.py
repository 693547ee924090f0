"""Alembic's entry: it migrates over the connection that `migrate` hands it, inside that transaction."""

from alembic import context

from bascule.catalog.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction holds it all
    render_as_batch=True,
)
context.run_migrations()
