import { Controller, Get } from '@nestjs/common';
import { ClusterService, InspectionService } from 'nestjs-hedge';

// #region inspection
@Controller('pods')
export class PodsController {
  constructor(
    private readonly cluster: ClusterService,
    private readonly inspection: InspectionService,
  ) {}

  @Get('self')
  self() {
    return this.inspection.state(); // of this pod
  }

  @Get()
  all() {
    return Promise.all(this.cluster.members().map((member) => this.inspection.stateOf(member)));
  }
}
// #endregion
